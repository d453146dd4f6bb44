"""The store: a memcached server, or a dict in this process that behaves like one."""
