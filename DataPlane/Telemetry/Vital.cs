namespace Pollux.DataPlane.Telemetry;

/// <summary>Loops without which this process only looks alive.</summary>
public static class Vital
{
    /// <summary>Runs a loop on the pool. If it ends by an exception that it does not expect, the process ends loudly: the guard ends the VMs, the
    /// peer takes over, the service manager starts this process anew.</summary>
    public static Task Run(string name, Func<Task> loop) => Task.Run(async () =>
    {
        try
        {
            await loop().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            HostLog.Error("host", "a vital loop failed; the process ends", ("loop", name), ("reason", e.ToString()));
            HostLog.Close(TimeSpan.FromSeconds(1));
            Environment.FailFast($"The loop '{name}' failed.", e);
        }
    });
}
