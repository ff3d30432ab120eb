"""Writes what follows from the catalogue: reference, AsyncAPI document, schemas, golden files."""
