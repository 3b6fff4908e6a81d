-- Stores what one node holds of one topic, in absolute terms, so that a second call changes nothing. Publishes the
-- consequences for other nodes in the same step.
--
-- KEYS  1 nodes  2 topic's state  3 members  4 index of the app's channels  5 the node's own topics  6 linger  7 due
--       8 log  9 last event  10 what the caller has not been told  11 number of the caller's latest connection
-- ARGV  1 node  2 topic id  3 channel  4 topic  5 PUBLISH or SPUBLISH
--       6 'set', 'release' (set to nothing and no longer interested), 'drop' (the same, of a dead node)
--       7 subscriptions  8 flags: l listed, p presence, c tell the count, t to webhooks too, k cache, s members wanted,
--       r restored after a loss of memory, w the members given are all there are, u a user
--       9 linger in ms  10 most members, or connections of a user (0: any number)  11 seconds that a log lives
--       12, 13 run and number of the last event seen  14 '1': the log is wanted although no event was seen
--       15 seconds that an event is kept for clients that resume
--       16, 17 of the log so many of its last entries are wanted, and what is behind this number, or ''
--       18 number of the connection of this call
--       19… members: id, '+' or '-', user_info; of a user 19: how many of its connections sign in with this call
-- -> {'LAPSED'} or {'ALIVE'} when the lease is not as expected, {'LATE'} when the caller has another connection by now, else
--    {'OK', run, number, subscriptions, users (of a user: sign-ins that are refused, which the node undoes), occupied,
--     count told, cache miss, members that appeared, members or false, log or false, last event or false, now,
--     number of the last event that was one, number of what is told here}
local nodes, state, members, index, own, linger, due, log, event, untold, connection = unpack(KEYS)
local node, topic_id, channel, topic, publish, mode = unpack(ARGV, 1, 6)
local flags = ARGV[8]
local function flag(name) return string.find(flags, name, 1, true) ~= nil end
local listed, presence, restored = flag('l'), flag('p'), flag('r')
local linger_ms, most, log_seconds = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(number) return string.format('%.0f', number) end
local function say(kind, text) redis.call(publish, topic, '\1' .. kind .. text) end

-- What a connection had under way when it broke may come behind what was registered on the next one, which is newer.
if tonumber(redis.call('GET', connection) or 0) > tonumber(ARGV[18]) then return {'LATE'} end
local lease_end = redis.call('ZSCORE', nodes, node)
local alive = lease_end and tonumber(lease_end) > now
if mode == 'drop' then
    if alive then return {'ALIVE'} end
elseif not alive then
    return {'LAPSED'}
end

-- A Redis that is full refuses a script at its first write, if that may take memory. This one takes none, so that what frees
-- memory is not refused.
local held = tonumber(redis.call('HGET', state, 'n:' .. node) or 0)
if mode ~= 'set' or tonumber(ARGV[7]) < held then
    redis.call('ZREM', linger, '')
end

if redis.call('HEXISTS', state, 'seq') == 0 then
    -- Numbers of a later life are higher than those of an earlier one, whatever was forgotten.
    redis.call('HSET', state, 'seq', ms(time[1] * 1000000 + time[2]), 'run', '', 'bytes', 0, 'total', 0, 'nodes', 0)
    redis.call('DEL', log)
end
local resume = tonumber(redis.call('HGET', state, 'resume') or 0)
if tonumber(ARGV[15]) > resume then
    resume = tonumber(ARGV[15])
    redis.call('HSET', state, 'resume', resume)
end

-- Subscriptions.
local field = 'n:' .. node
local old = redis.call('HGET', state, field)
local count = mode == 'set' and tonumber(ARGV[7]) or 0
local before = tonumber(redis.call('HGET', state, 'total') or 0)
local others = before - tonumber(old or 0)
local users = 0
if flag('u') and mode == 'set' and most > 0 then
    users = math.max(0, math.min(tonumber(ARGV[19]), others + count - most))
    count = count - users
end
local total = others + count
redis.call('HSET', state, 'total', total)
local registered = tonumber(redis.call('HGET', state, 'nodes') or 0)
if mode == 'set' then
    redis.call('HSET', state, field, count)
    redis.call('SADD', own, topic_id)
    if not old then registered = redis.call('HINCRBY', state, 'nodes', 1) end
else
    redis.call('HDEL', state, field)
    redis.call('SREM', own, topic_id)
    if old then registered = redis.call('HINCRBY', state, 'nodes', -1) end
end
if registered > 0 then
    redis.call('PERSIST', state)
else
    -- Longer than its log, and until nobody resumes any more.
    redis.call('HSET', state, 'left', ms(now))
    redis.call('EXPIRE', state, math.max(log_seconds, 2 * resume, 2 * redis.call('TTL', log)))
end

local occupied = 0
if listed and before == 0 and total > 0 then
    redis.call('ZADD', index, 0, channel)
    if redis.call('ZREM', linger, topic_id) == 0 then
        redis.call('HDEL', state, 'missed')
        if not restored then occupied = 1 end
    end
elseif listed and before > 0 and total == 0 then
    redis.call('ZREM', index, channel)
    redis.call('ZADD', linger, ms(now + linger_ms), topic_id)
elseif flag('u') and before == 0 and total > 0 then
    say('O', '')
elseif flag('u') and before > 0 and total == 0 then
    say('F', '')
end

-- Members: user -> the nodes that hold it, each followed by a comma, then '|' and the user_info.
local appeared = {}
local function text_of(user, info)
    return struct.pack('>I2', #user) .. user .. info
end
local function holders(entry)
    local bar = string.find(entry, '|', 1, true)
    return string.sub(entry, 1, bar - 1), string.sub(entry, bar + 1)
end
local function add(user, info)
    local entry = redis.call('HGET', members, user)
    if not entry then
        if not restored and redis.call('HLEN', members) >= most then return end
        redis.call('HSET', members, user, node .. ',|' .. info)
        say('A', text_of(user, info))
        if redis.call('ZREM', linger, topic_id .. '\0' .. user) == 0 and not restored then
            appeared[#appeared + 1] = user
        end
        return
    end
    local held, known = holders(entry)
    if not string.find(held, node, 1, true) then held = held .. node .. ',' end
    if held .. '|' .. info ~= entry then redis.call('HSET', members, user, held .. '|' .. info) end
    if known ~= info then say('A', text_of(user, info)) end
end
local function remove(user)
    local entry = redis.call('HGET', members, user)
    if not entry then return end
    local held, info = holders(entry)
    local from, to = string.find(held, node .. ',', 1, true)
    if not from then return end
    held = string.sub(held, 1, from - 1) .. string.sub(held, to + 1)
    if held ~= '' then
        redis.call('HSET', members, user, held .. '|' .. info)
        return
    end
    redis.call('HDEL', members, user)
    redis.call('ZADD', linger, ms(now + linger_ms), topic_id .. '\0' .. user)
    say('R', user)
end
if presence then
    local given = {}
    for at = 19, #ARGV, 3 do
        if ARGV[at + 1] == '+' then
            add(ARGV[at], ARGV[at + 2])
            given[ARGV[at]] = true
        else
            remove(ARGV[at])
        end
    end
    if flag('w') or mode ~= 'set' then
        for _, user in ipairs(redis.call('HKEYS', members)) do
            if not given[user] then remove(user) end
        end
    end
    users = redis.call('HLEN', members)
    redis.call('HSET', state, 'users', users)
end

-- Up to a hundred subscriptions every change of the count is published, above that at most one every five seconds. After
-- a loss of memory it is published once the other nodes have had their time to come back.
local told = 0
local counts = flag('c')
if mode == 'drop' then
    counts = redis.call('HGET', state, 'counts') == '1'
else
    redis.call('HSET', state, 'counts', counts and 1 or 0)
end
if counts and total ~= before and total > 0 then
    local last = tonumber(redis.call('HGET', state, 'told') or 0)
    if restored or (total > 100 and now - last < 5000) then
        redis.call('ZADD', due, 'NX', ms(restored and now + 5000 or last + 5000), topic_id)
    else
        redis.call('HSET', state, 'told', ms(now))
        say('C', node .. total)
        told = 1
    end
end

local last_event, miss = false, 0
if flag('k') and mode == 'set' then
    last_event = redis.call('GET', event)
    if not last_event and total > 0 and redis.call('HSETNX', state, 'missed', 1) == 1 then miss = 1 end
end

-- Nobody else is told this. It is kept until the node says that it has come; see heartbeat.lua.
local told_at = 0
local is_count_kept = told == 1 and flag('t')
if occupied == 1 or miss == 1 or #appeared > 0 or is_count_kept then
    told_at = time[1] * 1000000 + time[2]
    local at = ms(told_at)
    if occupied == 1 then redis.call('ZADD', untold, at, at .. 'C' .. topic_id) end
    for _, user in ipairs(appeared) do redis.call('ZADD', untold, at, at .. 'M' .. topic_id .. '\0' .. user) end
    if miss == 1 then redis.call('ZADD', untold, at, at .. 'N' .. topic_id) end
    if is_count_kept then redis.call('ZADD', untold, at, at .. 'S' .. topic_id .. '\0' .. total) end
    redis.call('EXPIRE', untold, 600)
end

local run, seq, last = unpack(redis.call('HMGET', state, 'run', 'seq', 'last'))
local entries, wanted = false, tonumber(ARGV[16])
if ARGV[17] ~= '' then wanted = math.max(wanted, seq - ARGV[17]) end
if ARGV[12] ~= '' then
    -- Within the same run at least the missing events. Of another run all events: the node knows which it has seen.
    wanted = math.max(wanted, run == ARGV[12] and seq - ARGV[13] or math.huge)
elseif ARGV[14] == '1' then
    wanted = math.huge
end
if wanted > 0 then
    entries = redis.call('LRANGE', log, wanted < 1e9 and -wanted or 0, -1)
end

local snapshot = false
if presence and flag('s') then
    snapshot = redis.call('HGETALL', members)
end
return {'OK', run, seq, total, users, occupied, told, miss, appeared, snapshot, entries, last_event, ms(now), last, ms(told_at)}
