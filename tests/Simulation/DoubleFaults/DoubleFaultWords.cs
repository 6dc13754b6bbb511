namespace Pollux.Tests.Simulation.DoubleFaults;

/// <summary>What stands around the tables.</summary>
internal static class DoubleFaultWords
{
    public const string Before =
        """
        # Two faults at once

        Made by `eng/test double-faults` (with `--write` it writes this file, without it fails if the file is stale): the production role machines, engines and arbiter in the simulation, without any other disturbance. A settled pair, a is PRIM and b SECOND, and the guest writes all the time. A fault comes and stays; the pair settles; a second fault comes and stays. In all runs the safety rules are checked at each step, nothing acknowledged is lost, and no two VMs execute. When both faults end, the pair is PRIM and SECOND again within ten detection times; where a disk had failed, 60 s later at most, since it is tried again after a pause. What goes on being served pauses for three detection times at most. The test checks both bounds.


        """;

    public const string Legend =
        """
        `a`, `b`: the VM runs there and its writes are acknowledged. `–`: it does not; the number says which fault has to end before it runs again: `1` the first, `2` the second, `1 or 2` either, `1+2` both. With a slash: depends on timing. `·`: the second has nothing left to act on. A dead or frozen data plane stays so; the VM is not served meanwhile, though QEMU may be there.


        """;

    public const string After =
        """

        Why a pair of faults stops the service, one of these in all cases:

        - **No copy is left that may run.** The only host that holds every acknowledged write is gone; the other one is out of the record, by an exclusion or by its promise to leave, and must not run old data (S3).
        - **Nobody can say who may run.** A takeover and an exclusion need the arbiter. With it away, or out of the reach of the only host that is left, the primary holds when it loses its peer, and the secondary does not take over (S9): the other host may be running.

        - **The arbiter is away and the session between the hosts has ended** (–1 with a cut link): the primary has to take the peer out of the record before it acknowledges anything without it (S4), also when the link is back.

        What an operator can do about the first: keep both hosts in the record; `prim.peer-left` and `role.alone` say that the next loss stops the module. About the second: run the control plane on a third machine that both hosts reach by ways that do not fail together with the link between them.

        """;
}
