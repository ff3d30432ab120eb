"""Tilted cells: a fast dynamic programme over relay schedules with a true lower bound."""
