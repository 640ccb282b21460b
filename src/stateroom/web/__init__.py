"""The HTML pages: sign-in, registration, the account. They use the JSON API's `use_cases` and work without JavaScript."""
