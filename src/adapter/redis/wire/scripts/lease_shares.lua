-- Leases shares of limits to a node: what it asks for, as far as the other live nodes leave it. A share lasts as long as
-- the node's lease. What is in use counts also beyond a share.
--
-- KEYS  1 nodes  2… shares of a limit: by node, its share, use, demand and the number of the call
-- ARGV  1 node  2 number of this call, greater than those of the node's calls before
--       3… for each limit: the limit or 0 to give the share back, the share that the node wants, its use, its demand
-- -> {} if the node has no lease, or a later call was here first; else for each limit: the node's share, the use and the
--    demand of the others
local nodes, node, number = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local live = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. text(now), '+inf')) do live[id] = true end
if not live[node] then return {} end

-- As in heartbeat.lua: a Redis that is full refuses a script at its first write only, if that may take memory.
redis.call('ZREM', nodes, '')

local reply = {}
for at = 2, #KEYS do
    local limit, wanted, used, demand = unpack(ARGV, 4 * at - 5, 4 * at - 2)
    local left, others_used, others_demand = tonumber(limit), 0, 0
    local known = redis.call('HGETALL', KEYS[at])
    for i = 1, #known, 2 do
        local id = known[i]
        local share, use, asks, call = known[i + 1]:match('(%d+) (%d+) (%d+) (%d+)')
        if id == node then
            if tonumber(call) >= number then return {} end
        elseif live[id] then
            left = left - share
            others_used, others_demand = others_used + use, others_demand + asks
        else
            redis.call('HDEL', KEYS[at], id)
        end
    end
    local share = math.max(math.min(tonumber(wanted), left), 0)
    if limit == '0' then
        redis.call('HDEL', KEYS[at], node)
    else
        redis.call('HSET', KEYS[at], node, table.concat({text(math.max(share, used)), used, demand, number}, ' '))
        redis.call('EXPIRE', KEYS[at], 86400)
    end
    for _, value in ipairs({share, others_used, others_demand}) do reply[#reply + 1] = value end
end
return reply
