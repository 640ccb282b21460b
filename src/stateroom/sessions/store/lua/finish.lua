#!lua flags=allow-oom
-- End a session. It deletes first, so that a full server takes it. KEYS: session, expiry index, user index, and the tombstone
-- of an end that the journal does not have yet. ARGV: skew, 0, handle, user, the tombstone's life (empty: none), the
-- tombstone's content: the reason, and 1 to return the session's last fields.
-- Returns {OK, created, now, {field, value, …}} or {GONE}.
local found = fields_of(KEYS[1], 'c', 'u') or {}
if found[1] and (found[2] or '') ~= ARGV[4] then return {GONE} end -- another user's, under the same tag
local last = found[1] and ARGV[7] == '1' and redis.call('HGETALL', KEYS[1]) or {}
redis.call('DEL', KEYS[1])
if ARGV[4] ~= '' then on_index('ZREM', KEYS[3], ARGV[3]) end
local created = number(found[1])
if not created then return {GONE} end
on_index('ZREM', KEYS[2], expiry_member(ARGV[3], whole(created), ARGV[4]))
if ARGV[5] ~= '' then redis.call('SET', KEYS[4], ARGV[6], 'PX', ARGV[5]) end
return {OK, whole(created), whole(now_ms()), last}
