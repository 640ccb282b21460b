-- The attempt succeeded: forget the account's failures from this address, and take the address's count back.
-- KEYS as in reserve.lua. Returns {0, keys of another type, unreadable keys}.
redis.call('DEL', KEYS[1])
take_one_back(KEYS[2])
return {0, of_another_type, unreadable}
