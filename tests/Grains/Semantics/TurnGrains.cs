using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

[GrainInterfaceType("test.turns"), Alias("test.ITurnsGrain")]
public interface ITurnsGrain : IGrainWithStringKey
{
    /// <summary>Logs its start, waits for the event, logs its end.</summary>
    [Alias("Work")]
    Task WorkAsync(string name, string until);

    [ReadOnly, Alias("Look")]
    Task LookAsync(string name, string until);

    /// <summary>Waits until <paramref name="participants"/> calls are in it at the same time.</summary>
    [ReadOnly, Alias("LookTogether")]
    Task LookTogetherAsync(string name, int participants);

    [AlwaysInterleave, Alias("Peek")]
    Task<string> PeekAsync();

    [OneWay, Alias("Tell")]
    Task TellAsync(string name, string until);

    /// <summary>Says for each stretch of a turn whether it ran on the turn's scheduler.</summary>
    [Alias("WhereDoIRun")]
    Task<string> WhereDoIRunAsync();

    /// <summary>Adds up without locks, with a yield in between, in two turns at a time.</summary>
    [Alias("AddSlowly")]
    Task<int> AddSlowlyAsync();
}

[GrainType("test.turns")]
public sealed class TurnsGrain(Probe probe) : Grain, ITurnsGrain
{
    private int _sum;

    public Task WorkAsync(string name, string until) => LogAsync(name, until);

    public Task LookAsync(string name, string until) => LogAsync(name, until);

    public Task LookTogetherAsync(string name, int participants) => probe.MeetAsync(name, participants);

    public Task<string> PeekAsync() => Task.FromResult(this.GetPrimaryKeyString());

    public Task TellAsync(string name, string until) => LogAsync(name, until);

    public async Task<string> WhereDoIRunAsync()
    {
        var turn = TaskScheduler.Current;
        await Task.Yield();
        var afterYield = ReferenceEquals(TaskScheduler.Current, turn);
        var inside = await Task.Run(() => ReferenceEquals(TaskScheduler.Current, turn));
        var afterRun = ReferenceEquals(TaskScheduler.Current, turn);
        return $"default:{ReferenceEquals(turn, TaskScheduler.Default)} yield:{afterYield} Task.Run:{inside} after:{afterRun}";
    }

    public async Task<int> AddSlowlyAsync()
    {
        var before = _sum;
        await Task.Yield();
        _sum = before + 1;
        return _sum;
    }

    private async Task LogAsync(string name, string until)
    {
        probe.Write($"{name} starts");
        probe.Signal($"{name} starts");
        await probe.WaitAsync(until);
        probe.Write($"{name} ends");
        probe.Signal($"{name} ends");
    }
}

[GrainInterfaceType("test.reentrant"), Alias("test.IReentrantGrain")]
public interface IReentrantGrain : IGrainWithStringKey
{
    [Alias("Meet")]
    Task MeetAsync(string name, int participants);
}

[GrainType("test.reentrant"), Reentrant]
public sealed class ReentrantGrain(Probe probe) : Grain, IReentrantGrain
{
    public Task MeetAsync(string name, int participants) => probe.MeetAsync(name, participants);
}
