#!lua flags=allow-oom
-- End every session of a user with a lower generation. KEYS: user index, expiry index.
-- ARGV: skew, 0, user, generation, one handle to spare ('' for none). Returns {handle, created, …, now}.
local stem = string.sub(KEYS[2], 1, #KEYS[2] - 1) .. 's:'
local ended = {}
for _, handle in ipairs(on_index('ZRANGE', KEYS[1], 0, -1) or {}) do
  local session = stem .. handle
  local found = fields_of(session, 'c', 'g')
  local this = read(session)
  if handle ~= ARGV[5] and (not found or (found[1] and (number(found[2]) or 0) < tonumber(ARGV[4]))) then
    redis.call('DEL', session)
    redis.call('ZREM', KEYS[1], handle)
    if this then -- an unreadable one was no session
      on_index('ZREM', KEYS[2], expiry_member(handle, whole(this.created), ARGV[3]))
      ended[#ended + 1] = handle
      ended[#ended + 1] = whole(this.created)
    end
  end
end
ended[#ended + 1] = whole(now_ms())
return ended
