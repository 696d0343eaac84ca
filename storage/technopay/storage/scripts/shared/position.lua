-- position: the id of the last journal entry.

local function position()
    local last = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)[1]
    return last and last[1] or '0-0'
end
