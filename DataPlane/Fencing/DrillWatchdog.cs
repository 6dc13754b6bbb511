using System.Globalization;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Fencing;

/// <summary>A plain file in the place of a device, for drills: it says what a device would have been told, and resets nothing. One line at the
/// beginning of the file, always of the same length: <c>armed|off TIMEOUT_MS FEEDINGS BOOTTIME_MS</c>.</summary>
public sealed class DrillWatchdog : IWatchdogDevice
{
    private const int LineBytes = 64;

    private readonly SafeFileHandle _file;
    private long _feedings;

    /// <exception cref="WatchdogException">The file cannot be written.</exception>
    public DrillWatchdog(string path, long timeoutMs)
    {
        TimeoutMs = timeoutMs;
        try
        {
            _file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new WatchdogException($"{path} cannot be written: {e.Message}", e);
        }

        // As a device is stopped when it is taken.
        Disarm();
    }

    public long TimeoutMs { get; }

    public void Arm() => Feed();

    public void Feed()
    {
        _feedings++;
        Write("armed");
    }

    public void Disarm() => Write("off");

    public void Dispose()
    {
        if (_file.IsClosed)
            return;
        Write("off");
        _file.Dispose();
    }

    private void Write(string state)
    {
        var line = string.Create(CultureInfo.InvariantCulture, $"{state} {TimeoutMs} {_feedings} {BootClock.NowMs}").PadRight(LineBytes - 1) + "\n";
        RandomAccess.Write(_file, Encoding.ASCII.GetBytes(line), 0);
    }
}
