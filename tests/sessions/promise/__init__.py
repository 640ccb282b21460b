"""The promises of docs/availability.md against a model: any steps, any faults, in virtual time."""
