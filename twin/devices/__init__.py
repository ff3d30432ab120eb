"""The simulated house's side of the device protocols: what the real devices would say and obey."""
