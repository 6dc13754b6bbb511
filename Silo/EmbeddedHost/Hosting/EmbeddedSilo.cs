using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Pollux.EmbeddedHost.Contracts;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// Starts and stops the host. Start: contracts are verified, the database is opened, calls are taken, reminders tick.
/// Stop: reminders end, calls from outside are refused, every activation is deactivated, the database is closed.
/// </summary>
internal sealed class EmbeddedSilo(EmbeddedRuntime runtime, EmbeddedStore store, ReminderService reminders) : IHostedService
{
    private readonly CancellationTokenSource _stop = new();
    private Task _collection = Task.CompletedTask;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        ContractVerifier.Verify(runtime.Classes, runtime.Options.GrainAssemblies);
        await store.InitializeAsync(cancellationToken);
        runtime.Catalog.Open();
        await reminders.StartAsync(cancellationToken);
        _collection = CollectIdleAsync(_stop.Token);
        runtime.Logger.LogInformation(
            "The embedded host runs {Classes} grain classes as service '{ServiceId}' in this process only.",
            runtime.Classes.All.Count,
            runtime.Options.ServiceId);
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stop.CancelAsync();
        await _collection;
        reminders.Stop();
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(runtime.Options.DrainTimeout);
        try
        {
            await runtime.Catalog.DrainAsync(deadline.Token);
        }
        catch (TimeoutException timeout)
        {
            runtime.Logger.LogError("{Reason}", timeout.Message);
        }

        await store.DisposeAsync();
    }

    private async Task CollectIdleAsync(CancellationToken stop)
    {
        // Twice per age, so that an idle activation lives at most half as long again; at most once a second.
        var period = TimeSpan.FromTicks(Math.Clamp(runtime.Options.CollectionAge.Ticks / 2, TimeSpan.TicksPerSecond, TimeSpan.TicksPerMinute));
        using var timer = new PeriodicTimer(period, runtime.Time);
        try
        {
            while (await timer.WaitForNextTickAsync(stop))
                runtime.Catalog.CollectIdle();
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The host stops.
        }
    }
}
