-- Takes an event for a topic: numbers it, keeps it in the log, and publishes it to the nodes that are interested.
--
-- KEYS  1 topic's state  2 log  3 epoch  [4 last event]
-- ARGV  1 run  2 topic  3 PUBLISH or SPUBLISH  4 kind  5 body, which begins with the event's 16 bytes of id
--       6 most events in the log  7 most bytes  8 seconds that it lives
--       9 '1': it may have been taken already  [10 last event  11 its life in ms]
-- -> the topic's subscriptions on all nodes, or -1 when it had been taken already
local state, log, epoch = unpack(KEYS)
local run, topic, publish, kind, body = unpack(ARGV, 1, 5)
local most, most_bytes, seconds = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(number) return string.format('%.0f', number) end

if KEYS[4] then
    redis.call('SET', KEYS[4], ARGV[10], 'PX', ARGV[11])
end
local seq, bytes, fresh, total = unpack(redis.call('HMGET', state, 'seq', 'bytes', 'fresh', 'total'))
if not seq then
    -- No node is interested, and none was a moment ago. But if Redis has just lost its memory, interested nodes may not
    -- have come back yet, and will read the log.
    local born = tonumber(string.match(redis.call('GET', epoch) or '', ':(%d+)$'))
    if born and now - born > seconds * 1000 then return 0 end
    seq = time[1] * 1000000 + time[2]
    redis.call('HSET', state, 'total', 0, 'nodes', 0)
    redis.call('EXPIRE', state, seconds)
elseif KEYS[4] then
    redis.call('HDEL', state, 'missed')
end
if ARGV[9] == '1' then
    local id = string.sub(body, 1, 16)
    for _, entry in ipairs(redis.call('LRANGE', log, 0, -1)) do
        if string.sub(entry, 27, 42) == id then return -1 end
    end
end

seq = seq + 1
local message = '\1' .. kind .. run .. struct.pack('>I8I8', seq, now) .. body
bytes, fresh = tonumber(bytes or 0), tonumber(fresh or 0)
if most > 0 then
    local length = redis.call('RPUSH', log, message)
    bytes = (length > 1 and bytes or 0) + #message
    while length > most or (bytes > most_bytes and length > 0) do
        bytes = bytes - #redis.call('LPOP', log)
        length = length - 1
    end
    -- Not at every event: a log may end a quarter of its life early.
    if length <= 1 or now - fresh > seconds * 250 then
        redis.call('EXPIRE', log, seconds)
        fresh = now
    end
end
redis.call('HSET', state, 'run', run, 'seq', ms(seq), 'bytes', bytes, 'fresh', ms(fresh))
redis.call(publish, topic, message)
return tonumber(total or 0)
