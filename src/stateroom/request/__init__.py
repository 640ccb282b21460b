"""A session in an aiohttp request."""
