#!lua flags=allow-oom
-- End every session of a user whose generation is a lower one. KEYS: user index, expiry index.
-- ARGV: skew, 0, user, generation, one handle to spare ('' for none). Returns {handle, created, …, now}.
local stem = string.sub(KEYS[2], 1, #KEYS[2] - 1) .. 's:'
local ended = {}
for _, handle in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local session = stem .. handle
  local created, generation = unpack(redis.call('HMGET', session, 'c', 'g'))
  if created and handle ~= ARGV[5] and tonumber(generation or 0) < tonumber(ARGV[4]) then
    redis.call('DEL', session)
    redis.call('ZREM', KEYS[1], handle)
    redis.call('ZREM', KEYS[2], expiry_member(handle, created, ARGV[3]))
    ended[#ended + 1] = handle
    ended[#ended + 1] = created
  end
end
ended[#ended + 1] = whole(now_ms())
return ended
