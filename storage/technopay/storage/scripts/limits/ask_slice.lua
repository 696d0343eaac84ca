-- ask_slice(rule, currency, period, holder, granted, returned, used, amount, wanted, recalled_at)
--
-- Grant a partition a slice of a limit: room for an amount, at most for what is wanted.
--
-- granted, returned, used  the totals of the partition
-- recalled_at              the time of the recall that the caller has ended, '' for none
--
-- Returns {code, now, '', [mode, epoch, limit, granted, others, left], [partition, granted, …]}: 'ok'; 'short' when less is
-- left, in all partitions; 'recall' when the caller has to recall the unused parts of other partitions, the last list, and
-- to ask again with this time; 'recalling' while another caller does that.

-- An amount that comes back is reported at once. A report can be lost: so everything is recalled after RECALL_ALL_MS. One
-- caller recalls at a time: two would take from each other what they need.
local RECALL_ALL_MS, RECALL_MS = 5000, 1000

local name = rule .. ':' .. currency
local limit, epoch = fields('quota', name, 'limit', 'epoch')
local quota = read_quota(name, period, holder)
note_report(quota, granted, returned, used)
local recall_began, is_of_all = string.match(quota.recalling, '^(%d+) ?(%l*)$')
if recalled_at ~= '' and recalled_at == recall_began then
    quota.recalling, recall_began = '', nil
    quota.recalled_at = is_of_all == 'all' and recalled_at or quota.recalled_at
end

local function reply(code, left, holders)
    write_quota(quota)
    return {code, at, '', {
        limit and 'limited' or 'free', epoch or '0', limit or '', quota.granted, int(quota.spent - quota.used), left,
    }, holders or {}}
end

if not limit then
    return reply('ok', '')
end
local held = quota.granted - quota.returned - quota.used
local need, free = amount - held, limit - quota.out
if need <= 0 then
    return reply('ok', '')
elseif need <= free then
    -- More than is needed only while plenty is left.
    local more = math.min(wanted - held, math.floor(free / 16))
    local share = free > limit / 100 and math.max(need, more) or need
    quota.granted = int(quota.granted + share)
    quota.out = int(quota.out + share)
    append('limit.granted', currency, 'rule', rule, 'period', period, 'partition', holder,
        'granted', quota.granted, 'out', quota.out, 'limit', limit)
    return reply('ok', '')
end

-- Others may have unused parts.
local is_stale = now - quota.recalled_at > RECALL_ALL_MS or now < tonumber(quota.recalled_at)
if is_stale or quota.out - quota.spent > held then
    if recall_began and now >= tonumber(recall_began) and now - recall_began < RECALL_MS then
        return reply('recalling', '')
    end
    local holders = holders_of(quota, is_stale)
    if #holders > 0 then
        quota.recalling = is_stale and at .. ' all' or at
        return reply('recall', at, holders)
    end
end
return reply('short', int(held + free))
