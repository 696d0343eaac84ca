-- base: the partition's keys, the store's clock, exact integers, records and the journal.
--
-- KEYS[1] is always the partition's journal; its hash tag is the only one under which keys are built.

local MAX_AMOUNT = 9007199254740991
local tag = string.match(KEYS[1], '^{[^}]+}')

local function key(kind, id)
    if id then
        return tag .. ':' .. kind .. ':' .. id
    end
    return tag .. ':' .. kind
end

-- TIME is read once: it moves within a script on Redis 7.0.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Numbers leave a script as digits: tostring(1e14) would be '1e+14'.
local function int(number)
    return string.format('%.0f', number)
end

-- What is no amount stops a script before it writes: tonumber would take 'nan', '0x10' and '1e3', too.
local function require_amount(text, least)
    local number = string.match(text, '^%d+$') and tonumber(text)
    assert(number and number >= least and number <= MAX_AMOUNT, 'an amount has to be digits within the bounds')
end

local function read(kind, id)
    local flat = redis.call('HGETALL', key(kind, id))
    if #flat == 0 then
        return nil
    end
    local fields = {}
    for i = 1, #flat, 2 do
        fields[flat[i]] = flat[i + 1]
    end
    return fields
end

local function flat(fields)
    local list = {}
    for name, value in pairs(fields or {}) do
        list[#list + 1] = name
        list[#list + 1] = value
    end
    return list
end

local function append(type, ...)
    return redis.call('XADD', KEYS[1], '*', 'type', type, 'at', int(now), ...)
end
