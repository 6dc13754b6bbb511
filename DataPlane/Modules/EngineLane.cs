using System.Threading.Channels;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>Does what the role machine wants of engine and mounts: strictly in order, one after the other, beside the machine, which goes on
/// with beacons and leases meanwhile.</summary>
internal sealed class EngineLane : IAsyncDisposable
{
    /// <summary>The machine waits for the end of each long step before it wants the next: more than this is a defect.</summary>
    private const int StepsMax = 256;

    private readonly string _module;
    private readonly Action<string> _failed;
    private readonly Channel<(string Name, Func<Task> Step)> _steps =
        Channel.CreateBounded<(string, Func<Task>)>(new BoundedChannelOptions(StepsMax) { SingleReader = true });

    private readonly Task _loop;
    private volatile Busy? _busy;

    private sealed record Busy(string Name, long SinceMs);

    /// <param name="failed">Called with the reason when a step throws.</param>
    public EngineLane(string module, Action<string> failed)
    {
        _module = module;
        _failed = failed;
        _loop = Vital.Run("steps of " + module, RunAsync);
    }

    /// <summary>For people: what takes longer than a second at present, or null.</summary>
    public string? Waiting => _busy is { } busy && BootClock.NowMs - busy.SinceMs is > 1_000 and var ms ? $"{busy.Name}, for {ms / 1000} s" : null;

    public void Put(string name, Func<Task> step)
    {
        if (!_steps.Writer.TryWrite((name, step)))
            Environment.FailFast($"{StepsMax} steps of {_module} wait for '{_busy?.Name}'.");
    }

    public void Put(string name, Action step) => Put(name, () =>
    {
        step();
        return Task.CompletedTask;
    });

    /// <summary>Waits until everything that was put is done.</summary>
    public async ValueTask DisposeAsync()
    {
        _steps.Writer.TryComplete();
        await _loop.ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        await foreach (var (name, step) in _steps.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            _busy = new Busy(name, BootClock.NowMs);
            try
            {
                await step().ConfigureAwait(false);
            }
            catch (Exception e)
            {
                // Whatever it was, this copy cannot be used as it is: the role machine decides what follows.
                HostLog.Error("modules", "a step failed", ("module", _module), ("step", name), ("reason", e.ToString()));
                _failed($"{name}: {e.Message}");
            }

            _busy = null;
        }
    }
}
