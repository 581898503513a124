"""Gateway API semantics: typed resources in, plan parts and conditions out. Pure."""
