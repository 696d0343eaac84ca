-- base: the keys of the partition, the store's clock, exact integers, fields of records, and the journal.
--
-- Every script calls `begin` first. It reads TIME once, because TIME advances within a script on Redis 7.0. `at` is
-- `now` in digits, for writing. All keys are under the hash tag of the partition's journal.
--
-- On a store of several partitions the second key is the guard. It never exists, so a cluster runs no script in a slot
-- of which a part was moved; its name ends with the incarnation that the caller knows, if it knows one.

local journal, tag, clock, at, now, is_partitioned

local function key(kind, id)
    if id then
        return tag .. ':' .. kind .. ':' .. id
    end
    return tag .. ':' .. kind
end

-- Return whether this is the store that the caller means.
local function begin(first_key, guard)
    journal = first_key
    tag = string.sub(first_key, 1, -1 - #':journal')
    clock = redis.call('TIME')
    at = clock[1] .. string.sub('00000' .. clock[2], -6, -4)
    now = tonumber(at)
    is_partitioned = (guard or '') ~= ''
    return not is_partitioned or guard == key('guard')
        or guard == key('guard', redis.call('HGET', key('meta'), 'incarnation') or '')
end

-- Numbers leave a script as digits: tostring(1e14) would be '1e+14'.
local function int(number)
    return string.format('%d', number)
end

-- Doubles are exact up to here.
local MAX_AMOUNT = 9007199254740991

-- A counter has to be an integer far from any overflow, checked before the first write: a script that fails later
-- keeps its earlier writes. tonumber would accept 'nan', '0x10' and '1e3', too.
local function require_integer(text)
    assert(text == '0' or #text <= 17 and string.find(text, '^-?[1-9]%d*$'), 'a number has to be an integer')
end

local function exists(kind, id)
    return redis.call('EXISTS', key(kind, id)) == 1
end

-- The named fields of a record, in this order; false for a missing one.
local function fields(kind, id, ...)
    return unpack(redis.call('HMGET', key(kind, id), ...))
end

-- Record by how much the id of an entry is ahead of its time, at most; see shared/search.lua.
local function note_clock_behind(entry)
    local behind_ms = redis.call('HGET', key('meta'), 'clock_behind_ms')
    local ahead_ms = string.match(entry, '^%d+') - now
    if behind_ms and ahead_ms > tonumber(behind_ms) then
        redis.call('HSET', key('meta'), 'clock_behind_ms', int(ahead_ms))
    end
end

-- Append an entry to the journal: its type, its subject, then names and values. Its id has the time; if the clock went
-- back, the field `at` has it.
local function append(type, subject, ...)
    local entry = redis.pcall('XADD', journal, at .. '-*', type, subject, ...)
    if entry.err then
        local entry_fields = {...}
        entry_fields[#entry_fields + 1], entry_fields[#entry_fields + 2] = 'at', at
        entry = redis.call('XADD', journal, '*', type, subject, unpack(entry_fields))
        note_clock_behind(entry)
    end
    return entry
end
