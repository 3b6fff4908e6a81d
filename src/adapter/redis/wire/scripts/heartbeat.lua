-- Renews a node's lease in one bucket, and returns what is due there.
--
-- KEYS  1 nodes  2 wire  3 epoch  4 due  5 linger  6 what the node has not been told
--       7 number of the node's latest connection  [8 watches of consoles]
-- ARGV  1 node  2 lease in ms  3 wire version  4 name for a new epoch  5 most of each kind
--       6 '1': nothing lingers any longer if this node is the last one  7 number up to which it has been told
--       8 number of the connection of this call  9… watches of this node's consoles
-- -> {'WIRE', version} when live nodes speak another version, {'LATE'} when the node has another connection by now, else
--    {'OK', epoch, whether the node's own lease had ended, dead nodes, topic ids whose count is due, what only this node is
--     told, live nodes, watches of all nodes' consoles}
-- What it is told: a number, a letter, a topic id, and perhaps '\0' and more. C: the channel is occupied; M: the member,
-- which follows, was added; N: the channel has no last event; S: the subscriptions, whose number follows, have changed;
-- G: the channel or the member, which follows, has stayed away. A number comes again until the node knows it, as replies
-- get lost. So these are no more than what registrations in flight can cause, and what stayed away since the last reply.
local nodes, wire, epoch_key, due, linger, untold, connection, watch = unpack(KEYS)
local node, lease, version, limit = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(number) return string.format('%.0f', number) end

-- A Redis that is full refuses a script at its first write, if that may take memory. This one takes none, and what follows is
-- written: a node must not lose its lease because of a lack of memory.
redis.call('ZREM', nodes, '')

if tonumber(redis.call('GET', connection) or 0) > tonumber(ARGV[8]) then return {'LATE'} end
redis.call('SET', connection, ARGV[8], 'EX', 600)

local others = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. ms(now), '+inf')) do
    if id ~= node then others = others + 1 end
end
local known = redis.call('GET', wire)
if known ~= version then
    if known and others > 0 then return {'WIRE', known} end
    redis.call('SET', wire, version)
end

local lease_end = redis.call('ZSCORE', nodes, node)
local lapsed = (not lease_end or tonumber(lease_end) <= now) and 1 or 0
redis.call('ZADD', nodes, ms(now + lease), node)

-- The epoch lives as long as Redis' memory. When it changes, nodes register everything again. Its time tells publishers
-- that nodes may not have come back yet.
local epoch = redis.call('GET', epoch_key)
if not epoch then
    epoch = ARGV[4] .. ':' .. ms(now)
    redis.call('SET', epoch_key, epoch)
end
-- Neither key outlives its last node by more than a day.
for _, key in ipairs({wire, epoch_key}) do redis.call('EXPIRE', key, 86400) end

local function take(key, upto)
    local found = redis.call('ZRANGEBYSCORE', key, '-inf', upto, 'LIMIT', 0, limit)
    if #found > 0 then redis.call('ZREM', key, unpack(found)) end
    return found
end
local dead = redis.call('ZRANGEBYSCORE', nodes, '-inf', ms(now), 'LIMIT', 0, limit)
-- They are due until they are flushed; see flush_count.lua.
local counts = redis.call('ZRANGEBYSCORE', due, '-inf', ms(now), 'LIMIT', 0, limit)
local gone = take(linger, (ARGV[6] == '1' and others == 0) and '+inf' or ms(now))
redis.call('ZREMRANGEBYSCORE', untold, '-inf', ARGV[7])
local at = ms(math.max(time[1] * 1000000 + time[2], ARGV[7] + 1))
for _, left in ipairs(gone) do redis.call('ZADD', untold, at, at .. 'G' .. left) end
if #gone > 0 then redis.call('EXPIRE', untold, 600) end

-- The watch of a console that was closed, or whose node is gone, ends after a few heartbeats.
local watched = {}
for i = 9, #ARGV do
    redis.call('ZADD', watch, ms(now + 3000), ARGV[i])
    redis.call('PEXPIRE', watch, 3000)
end
if watch and redis.call('EXISTS', watch) == 1 then
    redis.call('ZREMRANGEBYSCORE', watch, '-inf', ms(now))
    watched = redis.call('ZRANGE', watch, 0, 127)
end
return {'OK', epoch, lapsed, dead, counts, redis.call('ZRANGE', untold, 0, -1), others + 1, watched}
