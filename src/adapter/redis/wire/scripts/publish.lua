-- Takes an event for a topic: numbers it, keeps it in the log, and publishes it to the nodes that are interested.
--
-- KEYS  1 topic's state  2 log  3 epoch  [4 last event]
-- ARGV  1 run  2 topic  3 PUBLISH or SPUBLISH  4 kind  5 body, which begins with the event's 16 bytes of id
--       6 most events in the log  7 most bytes  8 seconds that each lives
--       9 '1': it may have been taken already
--       10, 11 events and seconds that a rule keeps whether or not a node is interested; 0: nothing
--       [12 last event  13 its life in ms]
-- -> the topic's subscriptions on all nodes, or -1 when it had been taken already
local state, log, epoch = unpack(KEYS)
local run, topic, publish, kind, body = unpack(ARGV, 1, 5)
local most, most_bytes, seconds = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local rule_events, rule_seconds = tonumber(ARGV[10]), tonumber(ARGV[11])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(number) return string.format('%.0f', number) end

if KEYS[4] then
    redis.call('SET', KEYS[4], ARGV[12], 'PX', ARGV[13])
end
local seq, bytes, ends, total, nodes, left, resume, again =
    unpack(redis.call('HMGET', state, 'seq', 'bytes', 'ends', 'total', 'nodes', 'left', 'resume', 'again'))
if not seq then
    -- No node is interested, and none was a moment ago. But if Redis has just lost its memory, interested nodes may not
    -- have come back yet, and will read the log.
    local born = tonumber(string.match(redis.call('GET', epoch) or '', ':(%d+)$'))
    local is_settled = born and now - born > seconds * 1000
    if is_settled and rule_seconds == 0 then return 0 end
    seq = time[1] * 1000000 + time[2]
    left = is_settled and 0 or now
    redis.call('HSET', state, 'total', 0, 'nodes', 0, 'left', ms(left))
    redis.call('EXPIRE', state, seconds)
    redis.call('DEL', log)
elseif KEYS[4] then
    redis.call('HDEL', state, 'missed')
end
-- What was sent first may be late: it arrives behind what was sent again.
if ARGV[9] == '1' or now < tonumber(again or 0) then
    local id = string.sub(body, 1, 16)
    for _, entry in ipairs(redis.call('LRANGE', log, 0, -1)) do
        if string.sub(entry, 27, 42) == id then return -1 end
    end
    if ARGV[9] == '1' then redis.call('HSET', state, 'again', ms(now + 10000)) end
end

seq = seq + 1
local message = '\1' .. kind .. run .. struct.pack('>I8I8', seq, now) .. body
bytes, ends, nodes = tonumber(bytes or 0), tonumber(ends or 0), tonumber(nodes or 0)
left, resume = tonumber(left or now), tonumber(resume or 0)
-- The whole log is for nodes that close a gap and for clients that resume. When there can be neither, it holds what the
-- rule keeps, and a few events more, by which one that is sent twice is recognised.
local life = math.max(seconds, rule_seconds, resume)
if nodes > 0 or now <= left + math.max(seconds, resume) * 1000 then
    most = math.max(most, rule_events)
else
    most, life = rule_events > 0 and math.max(rule_events, 16) or 0, rule_seconds
end
if most > 0 then
    local length = redis.call('RPUSH', log, message)
    bytes = (length > 1 and bytes or 0) + #message
    while length > most or (bytes > most_bytes and length > 0) do
        bytes = bytes - #redis.call('LPOP', log)
        length = length - 1
    end
    -- Not at every event: it lives a quarter longer than its last event.
    if length <= 1 or now + life * 1000 > ends then
        local lives = math.ceil(life * 1.25)
        redis.call('EXPIRE', log, lives)
        ends = now + lives * 1000
        -- The state is there for longer, so that a reader who has the whole log is told so.
        if nodes == 0 and rule_seconds > 0 and redis.call('TTL', state) < 2 * lives then
            redis.call('EXPIRE', state, 2 * lives)
        end
    end
elseif bytes > 0 then
    -- A log has no gaps.
    redis.call('DEL', log)
    bytes = 0
end
redis.call('HSET', state, 'run', run, 'seq', ms(seq), 'bytes', bytes, 'ends', ms(ends))
if KEYS[4] then redis.call('HSET', state, 'last', ms(seq)) end
redis.call(publish, topic, message)
return tonumber(total or 0)
