#!lua flags=allow-oom
-- Take expired sessions of one tag out of the indexes; each is reported once in the deployment.
-- KEYS: expiry index. ARGV: skew, 0, most at once. Returns {members, scores}, alternating.
local now = now_ms()
local stem = string.sub(KEYS[1], 1, #KEYS[1] - 1)
local due = on_index('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, ARGV[3]) or {}
for i = 1, #due, 2 do
  local handle, user = string.match(due[i], '^([^:]*):[^:]*:(.*)$')
  redis.call('ZREM', KEYS[1], due[i])
  -- Not call: while a Cluster moves this slot these two may be with the other shard, where they expire by themselves.
  if handle then redis.pcall('DEL', stem .. 's:' .. handle) end
  if user and user ~= '' then redis.pcall('ZREM', stem .. 'u:' .. user, handle) end
end
return due
