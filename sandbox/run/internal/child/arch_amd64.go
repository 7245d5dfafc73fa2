package child

const addressBits = 47
