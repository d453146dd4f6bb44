"""Pictures for the README of what commands look like, made from what they really wrote to a terminal."""
