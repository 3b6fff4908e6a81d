-- Takes an event once for a key. `publish` is the script of that name, whose keys and arguments come first.
--
-- KEYS  ... , the key's record: 'content' -> what it is bound to, a part and a channel -> what came of the event there
-- ARGV  ... , content ('': not compared), field of the part and the channel, window in ms, note, id of the event
-- -> 0 taken, 1 it was before, or 2 other content; subscriptions, users and note, those of the first
local record = table.remove(KEYS)
local id, note, window = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
local field, content = table.remove(ARGV), table.remove(ARGV)

local bound, known = unpack(redis.call('HMGET', record, 'content', field))
if bound and bound ~= '' and content ~= '' and bound ~= content then return {2, 0, 0, 0} end
if known then
    local taken_id, first_note, subscriptions, users = struct.unpack('>c16BI4I4', known)
    -- An event that is sent again after a lost reply meets itself.
    return {taken_id == id and 0 or 1, subscriptions, users, first_note}
end
-- Before the event: what Redis refuses because it is full is refused here.
redis.call('HSETNX', record, 'content', content)
redis.call('PEXPIRE', record, window)
local subscriptions = math.max(publish(), 0)
local users = tonumber(redis.call('HGET', KEYS[1], 'users') or 0)
redis.call('HSET', record, field, struct.pack('>c16BI4I4', id, tonumber(note), subscriptions, users))
return {0, subscriptions, users, tonumber(note)}
