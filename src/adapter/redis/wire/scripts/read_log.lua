-- Reads a page of a topic's log.
--
-- KEYS  1 topic's state  2 log
-- ARGV  1, 2 events and seconds that a rule keeps; 0: only what may be resumed can be read
--       3 'asc' or 'desc'  4 most events  5 number behind which they are, or ''
-- -> false if nothing is kept, else {number of the last event, number behind which everything is kept, entries in the
--    order of the log, now}
local state, log = unpack(KEYS)
local events, seconds, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local ascending, after = ARGV[3] == 'asc', tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(number) return string.format('%.0f', number) end

local seq, nodes, left, resume = unpack(redis.call('HMGET', state, 'seq', 'nodes', 'left', 'resume'))
if seconds == 0 then
    local is_live = resume and (tonumber(nodes) > 0 or now <= left + resume * 1000)
    if not is_live then return false end
end
if not seq then return {0, 0, {}, ms(now)} end
local length = redis.call('LLEN', log)
local first = 0
if seconds > 0 then
    -- Whoever follows the log is told that nothing was missed, however long nothing happens.
    local lives = redis.call('TTL', state)
    if lives >= 0 and lives < 2 * seconds then redis.call('EXPIRE', state, 2 * seconds) end
    first = math.max(0, length - events)
    local high = length
    while first < high do
        local middle = math.floor((first + high) / 2)
        local taken = struct.unpack('>I8', redis.call('LINDEX', log, middle), 19)
        if taken <= now - seconds * 1000 then first = middle + 1 else high = middle end
    end
end

-- Numbers rise by one from entry to entry, up to that of the last event.
local begins = seq - (length - first)
local from, to = first, length - 1
if after and ascending then
    from = math.max(from, first + after - begins)
elseif after then
    to = math.min(to, first + after - begins - 2)
end
if ascending then to = math.min(to, from + limit - 1) else from = math.max(from, to - limit + 1) end
local entries = {}
if from <= to then entries = redis.call('LRANGE', log, from, to) end
return {seq, ms(begins), entries, ms(now)}
