"""What memsessions is compared with. One that cannot be here raises `Lacking`."""
