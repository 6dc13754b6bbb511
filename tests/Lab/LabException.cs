namespace Pollux.Lab;

/// <summary>Something that the lab needed did not happen; the message says what, where and within which time.</summary>
public sealed class LabException : Exception
{
    public LabException(string message) : base(message)
    {
    }

    public LabException(string message, Exception inner) : base(message, inner)
    {
    }
}
