"""A sample model and three sample corpora, made from packages that pip can fetch anywhere."""
