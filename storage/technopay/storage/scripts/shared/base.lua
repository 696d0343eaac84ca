-- base: the keys of the partition, the store's clock, exact integers, fields of records, and the journal.
--
-- `begin` comes first in every script: it reads TIME once, because that moves within a script on Redis 7.0. `at` is
-- `now` in digits, for what is written. Keys are built under the hash tag of the partition's journal only.

local journal, tag, clock, at, now

local function begin(first_key)
    journal = first_key
    tag = string.sub(first_key, 1, -1 - #':journal')
    clock = redis.call('TIME')
    at = clock[1] .. string.sub('00000' .. clock[2], -6, -4)
    now = tonumber(at)
end

local function key(kind, id)
    if id then
        return tag .. ':' .. kind .. ':' .. id
    end
    return tag .. ':' .. kind
end

-- Numbers leave a script as digits: tostring(1e14) would be '1e+14'.
local function int(number)
    return string.format('%d', number)
end

-- Doubles are exact up to here.
local MAX_AMOUNT = 9007199254740991

-- What is counted up or down has to be an integer far from any overflow, before anything is written: a script that
-- stops later keeps what it wrote. tonumber would take 'nan', '0x10' and '1e3', too.
local function require_integer(text)
    assert(text == '0' or #text <= 17 and string.find(text, '^-?[1-9]%d*$'), 'a number has to be an integer')
end

local function exists(kind, id)
    return redis.call('EXISTS', key(kind, id)) == 1
end

-- The named fields of a record, in their order; false for one that is not there.
local function fields(kind, id, ...)
    return unpack(redis.call('HMGET', key(kind, id), ...))
end

-- Write an entry of the journal: its type and what it is about, then whatever there is to say. Its id says when it
-- was written; where the clock went back, a field does.
local function append(type, subject, ...)
    local entry = redis.pcall('XADD', journal, at .. '-*', type, subject, ...)
    if entry.err then
        local said = {...}
        said[#said + 1], said[#said + 2] = 'at', at
        entry = redis.call('XADD', journal, '*', type, subject, unpack(said))
    end
    return entry
end
