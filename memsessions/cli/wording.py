"""How commands put things into words: as the rest of the package does."""

from ..wording import number, span

__all__ = ["number", "span"]
