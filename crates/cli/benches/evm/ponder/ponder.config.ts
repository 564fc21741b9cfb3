// Every Transfer of one token, up to a block: see ../peer.rs.
import { createConfig } from "ponder";

const transfer = {
  type: "event",
  name: "Transfer",
  inputs: [
    { name: "from", type: "address", indexed: true },
    { name: "to", type: "address", indexed: true },
    { name: "value", type: "uint256", indexed: false },
  ],
} as const;

export default createConfig({
  chains: { anvil: { id: 31337, rpc: process.env.PEER_RPC } },
  contracts: {
    Token: {
      chain: "anvil",
      abi: [transfer],
      address: process.env.PEER_TOKEN as `0x${string}`,
      startBlock: 0,
      endBlock: Number(process.env.PEER_LAST),
    },
  },
});
