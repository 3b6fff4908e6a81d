-- Makes a node the owner of sessions that no other node has, renews what it owns, or gives it up.
--
-- KEYS  the sessions
-- ARGV  1 node  2 ms to live; 0 gives them up
-- -> for each session the node that owns it; '' if none does
local node, life = ARGV[1], tonumber(ARGV[2])
local owners = {}
for at, key in ipairs(KEYS) do
    local owner = redis.call('GET', key) or ''
    if owner == '' or owner == node then
        if life > 0 then
            redis.call('SET', key, node, 'PX', life)
            owner = node
        elseif owner == node then
            redis.call('DEL', key)
            owner = ''
        end
    end
    owners[at] = owner
end
return owners
