"""Whole journeys made of the rooms: one function per command, and the quickstart that walks through most of them."""
