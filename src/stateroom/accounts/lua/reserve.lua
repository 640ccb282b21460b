-- Count an attempt before it is made, so that parallel guesses cannot pass together.
-- KEYS: failures of the account from this address, failures of the address.
-- ARGV: most per account, most per address, window in milliseconds.
-- Returns 0 if the attempt may be made, else how many milliseconds to wait.
local wait = 0
for i = 1, 2 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[i]) then
    wait = math.max(wait, redis.call('PTTL', KEYS[i]), 1)
  end
end
if wait > 0 then return wait end
for i = 1, 2 do
  if redis.call('INCR', KEYS[i]) == 1 then redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
end
return 0
