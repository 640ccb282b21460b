-- Without a journal: write a session's tombstone, which all workers can read, unless it has one. KEYS: tombstone, session.
-- ARGV: skew, latest, its content (the reason, and after a space the new handle of a rotated session), its life.
-- Returns {OK} or {EXISTS}.
local now = now_ms()
if is_late(now) then return {LATE} end
local before = redis.call('GET', KEYS[1])
if before then
  local successor = string.match(before, ' (.+)$')
  local stem = string.match(KEYS[2], '^(.*:s:)')
  -- A rotation that failed after this has ended nothing: the session is still there, and its copy was never claimed.
  local has_failed = successor and redis.call('EXISTS', KEYS[2]) == 1 and redis.call('EXISTS', stem .. successor) == 0
  if not has_failed then
    -- A sign-in has replaced a session that had ended. Its client has a newer value, which no response may clear.
    if ARGV[3] == 'rotated' and string.match(before, '^%S+') ~= 'rotated' then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
    return {EXISTS}
  end
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return {OK}
