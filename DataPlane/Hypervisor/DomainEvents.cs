using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>Follows <c>virsh event --all --loop</c>. Events are hints to look: whoever cares also looks by itself from time to time, so a
/// stream that breaks costs promptness only, and is started anew.</summary>
internal sealed partial class DomainEvents(string uri, Action<string> changed) : IAsyncDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2);

    private readonly CancellationTokenSource _stop = new();
    private Task _loop = Task.CompletedTask;

    public void Start() => _loop = Task.Run(RunAsync);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            using var process = new Process
            {
                StartInfo = new ProcessStartInfo("virsh", ["--connect", uri, "event", "--all", "--loop"])
                {
                    RedirectStandardInput = true,
                    RedirectStandardOutput = true,
                    RedirectStandardError = true,
                    Environment = { ["LC_ALL"] = "C" },
                },
            };
            try
            {
                process.Start();
                try
                {
                    process.ErrorDataReceived += static (_, _) => { };
                    process.BeginErrorReadLine();
                    while (await process.StandardOutput.ReadLineAsync(_stop.Token).ConfigureAwait(false) is { } line)
                    {
                        if (Domain().Match(line) is { Success: true } match)
                            changed(match.Groups[1].Value);
                    }
                }
                finally
                {
                    process.Kill(entireProcessTree: true);
                }

                HostLog.Warn("hypervisor", "the stream of domain events ended; starting it anew", ("uri", uri));
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception e) when (e is Win32Exception or IOException or InvalidOperationException)
            {
                HostLog.Warn("hypervisor", "domain events cannot be followed", ("reason", e.Message));
            }

            await Task.Delay(Pause, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    [GeneratedRegex("^event '[^']+' for domain '?(.+?)'?:")]
    private static partial Regex Domain();
}
