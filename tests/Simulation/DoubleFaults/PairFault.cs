using Pollux.DataPlane.Core.Replication;
using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.DoubleFaults;

/// <summary>A single fault that stays until it is ended, on a pair of which host a was the primary at first.</summary>
/// <param name="Name">As the table writes it.</param>
/// <param name="Takes">Hosts whose data plane does nothing while it stays: what else would befall it there is no second fault.</param>
/// <param name="Touches">Hosts on whose data plane or disk it acts.</param>
internal sealed record PairFault(string Name, string Takes, string Touches, Action<World> Begin, Action<World> End)
{
    private const long Forever = 1_000_000_000;

    /// <summary>Tried again after a pause of its own.</summary>
    public bool OfDisk => Name.StartsWith("disk", StringComparison.Ordinal);

    public static IReadOnlyList<PairFault> All { get; } =
    [
        new("arbiter away", "", "", world => world.Arbiter.Away(Forever), world => world.Arbiter.Heal()),
        OutOfReach("a"),
        OutOfReach("b"),
        new("link cut", "", "", world => Cut(world, "a", "b"), Mend),
        new("link cut, a to b", "", "", world => Cut(world, "a"), Mend),
        new("link cut, b to a", "", "", world => Cut(world, "b"), Mend),
        new("a has no power", "a", "a", world => world.Host("a").LosePower(), world => world.Host("a").RestorePower()),
        Dead("a"),
        Frozen("a"),
        BadDisk("a"),
        new("b has no power", "b", "b", world => world.Host("b").LosePower(), world => world.Host("b").RestorePower()),
        Dead("b"),
        Frozen("b"),
        BadDisk("b"),
        new("b is shut down", "b", "b", world => world.Host("b").StopInOrder(), world => world.Host("b").Start()),
        new("the VM crashes", "", "", world => world.Hosts.FirstOrDefault(host => host.Vm.Executes)?.Vm.Crash(0), _ => { }),
    ];

    /// <summary>Whether there is something left to befall.</summary>
    public bool MayFollow(PairFault first) =>
        this != first && !(first.Takes != "" && Touches == first.Takes && !(first.Name.Contains("data plane", StringComparison.Ordinal) && Name.Contains("power", StringComparison.Ordinal)));

    private static PairFault OutOfReach(string name) => new(
        $"arbiter out of {name}'s reach", "", "", world => world.Host(name).ArbiterCutUntilMs = Forever, world => world.Host(name).ArbiterCutUntilMs = 0);

    private static PairFault Dead(string name) => new(
        $"data plane of {name} dead", name, name, world => world.Host(name).Crash("process crashes"), world => world.Host(name).Start());

    private static PairFault Frozen(string name) => new(
        $"data plane of {name} frozen", name, name, world => world.Host(name).Freeze(), world => world.Host(name).Thaw());

    private static PairFault BadDisk(string name) => new(
        $"disk of {name} fails", "", name, world => SetErrno(world.Host(name).Disk, Linux.EIO), world => SetErrno(world.Host(name).Disk, 0));

    private static void SetErrno(SimDisk disk, int errno) => disk.WriteErrno = disk.FlushErrno = disk.MetadataErrno = errno;

    private static void Cut(World world, params string[] from)
    {
        foreach (var name in from)
            world.Cut(world.Host(name), Forever);
    }

    private static void Mend(World world)
    {
        foreach (var host in world.Hosts)
            host.CutUntilMs = 0;
    }
}
