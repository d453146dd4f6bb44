import pytest

# What is no test module itself, but asserts.
pytest.register_assert_rewrite("tests.web.behaviour", "tests.web.pages", "tests.web.site")
