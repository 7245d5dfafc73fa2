package child

const addressBits = 48
