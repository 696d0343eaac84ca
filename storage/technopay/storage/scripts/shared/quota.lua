-- quota: the home of a limit, which grants slices of it, see shared/slices.lua.
--
-- `quota:<rule>:<currency>` has the limit, its epoch (it grows with every change), and for each partition the last epoch
-- that it reported. `quota:<rule>:<currency>:<period>` has for each partition what was granted to it (`g:`), returned (`r:`)
-- and used as last reported (`s:`), the sums `out` and `spent`, `recalling`, the time of the recall under way, and
-- `recalled_at`, that of the last one of everything.

-- The totals of a period are kept for that long.
local QUOTA_KEPT_MS = 35 * 24 * 3600 * 1000

-- How long a change has to reach all partitions before another process helps.
local SPREAD_MS = 5000

-- The sums of a period and the totals of one partition: a record with all of them is long.
local function read_quota(name, period, partition)
    local id = name .. ':' .. period
    local out, spent, recalling, recalled_at, granted, returned, used = fields('quota', id, 'out', 'spent', 'recalling',
        'recalled_at', 'g:' .. partition, 'r:' .. partition, 's:' .. partition)
    return {
        id = id, partition = partition, is_new = not out, out = out or '0', spent = spent or '0',
        recalling = recalling or '', recalled_at = recalled_at or '0', granted = granted or '0',
        returned = returned or '0', used = used or '0',
    }
end

-- Note what the partition reports.
local function note_report(quota, granted, returned, used)
    local function move(total, sum, value, sign)
        quota[sum] = int(quota[sum] + sign * (value - quota[total]))
        quota[total] = value
    end
    -- A total that is larger here than reported stays. A grant that only the partition remembers is believed. The used
    -- amount falls when an amount returns: a report of less returned is an old one.
    if tonumber(returned) >= tonumber(quota.returned) then
        move('used', 'spent', used, 1)
    end
    move('granted', 'out', larger(quota.granted, granted), 1)
    move('returned', 'out', larger(quota.returned, returned), -1)
end

local function write_quota(quota)
    if quota.is_new then
        redis.call('ZADD', key('agenda'), int(now + QUOTA_KEPT_MS), 'quo_' .. quota.id)
    end
    redis.call('HSET', key('quota', quota.id), 'out', quota.out, 'spent', quota.spent, 'recalling', quota.recalling,
        'recalled_at', quota.recalled_at, 'g:' .. quota.partition, quota.granted, 'r:' .. quota.partition, quota.returned,
        's:' .. quota.partition, quota.used)
end

-- {partition, granted, ...} of all partitions but the own one with an unused part, as last reported; with `of_all`, of all
-- that did not return everything: they may have used less than is known.
local function holders_of(quota, of_all)
    local totals, holders = read('quota', quota.id) or {}, {}
    for field, granted in pairs(totals) do
        local other = string.match(field, '^g:(%x%x)$')
        local outstanding = other and granted - (totals['r:' .. other] or 0)
        if other and other ~= quota.partition
            and (of_all and outstanding > 0 or outstanding - (totals['s:' .. other] or 0) > 0) then
            holders[#holders + 1], holders[#holders + 2] = other, granted
        end
    end
    return holders
end
