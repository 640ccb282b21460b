-- The attempt succeeded: forget the account's failures from this address, and take the address's count back.
-- KEYS as in reserve.lua.
redis.call('DEL', KEYS[1])
if tonumber(redis.call('GET', KEYS[2]) or '0') > 0 then redis.call('DECR', KEYS[2]) end
return 0
