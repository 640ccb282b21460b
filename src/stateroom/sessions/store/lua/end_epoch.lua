#!lua flags=allow-oom
-- End the sessions of one epoch among some entries of a tag's expiry index. KEYS: expiry index.
-- ARGV: skew, 0, epoch ('' for the first), the entry to begin with, how many entries to look at.
-- Returns {entries looked at, now, members whose sessions were deleted, …}.
local stem = string.sub(KEYS[1], 1, #KEYS[1] - 1)
local members = on_index('ZRANGE', KEYS[1], ARGV[4], ARGV[4] + ARGV[5] - 1) or {}
local reply = {#members, whole(now_ms())}
for _, member in ipairs(members) do
  local handle, user = string.match(member, '^([^:]*):[^:]*:(.*)$')
  local session = stem .. 's:' .. (handle or '')
  local found = fields_of(session, 'c', 'e')
  if found and found[1] and (found[2] or '') == ARGV[3] then
    redis.call('DEL', session)
    redis.call('ZREM', KEYS[1], member)
    if user ~= '' then on_index('ZREM', stem .. 'u:' .. user, handle) end
    reply[#reply + 1] = member
  end
end
return reply
