-- Count a change, unless its limit is reached.
-- KEYS: the count of an account or an address. ARGV: the limit, the window in milliseconds.
-- Returns 0 if the change may be made, else how many milliseconds to wait.
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return math.max(redis.call('PTTL', KEYS[1]), 1) end
if redis.call('INCR', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
