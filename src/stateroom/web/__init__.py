"""Pages for people: sign-in, registration, the account. They take the same steps as the JSON API, and work without JavaScript."""
