-- new_invoice: whether an invoice can be created.

local function creation_refusal(user_id, expires_at)
    if tonumber(expires_at) <= now then
        return 'expiry_past'
    elseif not exists('user', user_id) then
        return 'user_not_found'
    end
    return nil
end
