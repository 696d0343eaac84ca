-- refunds: the amounts of a payment that go back, in its field `refunds`, a line for each:
--
--   <id without 'ref_'> <amount> <when it ended or began> <pending, done or failed> [<note and operator, as JSON>]
--
-- A line without a note has at most 64 bytes: with a longer field, the whole record would take several times as much.
-- An earlier version listed only those done, as JSON: {amount, at} each.

local REFUNDS_MAX = 100

local function read_refunds(payment)
    local text, refunds = payment.refunds or '', {}
    if string.sub(text, 1, 1) == '[' then
        for i, refund in ipairs(cjson.decode(text)) do
            refunds[i] = {id = string.sub(payment.refund or '', 5), amount = refund.amount, ended_at = refund.at,
                status = 'done', more = ''}
        end
        return refunds
    end
    for line in string.gmatch(text, '[^\n]+') do
        local refund = {}
        refund.id, refund.amount, refund.ended_at, refund.status, refund.more =
            string.match(line, '^(%S*) (%d+) (%d+) (%a+) ?(.*)$')
        assert(refund.id, 'a refund has to be readable')
        require_integer(refund.amount)
        refunds[#refunds + 1] = refund
    end
    return refunds
end

local function list_refunds(refunds)
    local lines = {}
    for i, refund in ipairs(refunds) do
        lines[i] = table.concat({refund.id, refund.amount, refund.ended_at, refund.status}, ' ')
        if refund.more ~= '' then
            lines[i] = lines[i] .. ' ' .. refund.more
        end
    end
    return table.concat(lines, '\n')
end

local function new_refund(refund_id, amount, status, note, by)
    local more = (note ~= '' or by ~= '') and cjson.encode({note, by}) or ''
    return {id = string.sub(refund_id, 5), amount = amount, ended_at = at, status = status, more = more}
end

local function refunded_amount(refunds)
    local sum = 0
    for _, refund in ipairs(refunds) do
        if refund.status == 'done' then
            sum = sum + refund.amount
        end
    end
    return sum
end

-- Make room for one more: the oldest one that failed is left out of a full list. Return whether there is room.
local function make_room(refunds)
    if #refunds < REFUNDS_MAX then
        return true
    end
    for i, refund in ipairs(refunds) do
        if refund.status == 'failed' then
            table.remove(refunds, i)
            return true
        end
    end
    return false
end

-- End the refund that was begun last; return it.
local function end_refund(refunds, payment, status)
    local refund = refunds[#refunds]
    if not refund or refund.status ~= 'pending' then -- it was begun by an earlier version
        refund = new_refund(payment.refund, payment.refund_amount, status, '', '')
        refunds[#refunds + 1] = refund
    end
    refund.amount, refund.status, refund.ended_at = payment.refund_amount, status, at
    return refund
end

-- Whether the refund that was begun last ended like this.
local function has_ended(payment, status)
    local refunds = read_refunds(payment)
    local last = refunds[#refunds]
    return payment.status ~= 'refunding' and (last and last.status or 'failed') == status
end
