-- user: a user without the wallets, because there can be many.

local function read_user(id, failures_per_day)
    local status, email, phone, created_at, failures =
        fields('user', id, 'status', 'email', 'phone', 'created_at', 'failures')
    if not status then
        return nil
    end
    local locked = locked_out(failures, failures_per_day)
    return {
        status = status, email = email or nil, phone = phone or nil, created_at = created_at,
        locked_until = locked and locked[#locked],
    }
end
