-- The attempt could not be made: take both counts back.
-- KEYS as in reserve.lua.
for i = 1, 2 do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
return 0
